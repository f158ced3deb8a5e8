"""Identity 组织与身份: the organisations that work in the house, and (above this step) the people who log in.

组织 tenant: company 物业公司 · office 街道办等主管单位 · platform 平台 (number 1, made by the first migration)
Callers: the platform portal, demo, timetable (which organisations there are). An organisation is opened in a unit of
work scoped to the new one, with the operator as actor: the audit row lies there.
"""
