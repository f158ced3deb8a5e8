"""Places 地点: what is on the map and belongs to nobody's customer list; it outlives every company.

区划 division: 省 province · 市 city · 区县 district · 街道/乡镇 street · 社区/村 community, by the national codes
(trimmed of their padding zeros, so that a code is the prefix of all codes within it). The list of an edition is data
of the project (data/) and is loaded province by province. Callers: identity, oversight, the registry, timetable.
"""
