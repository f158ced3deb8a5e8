"""Platform 平台: pages about the house itself, without organisations or people in them.

status.py 运行状态 (what runs, what is down; the first page). Imports nothing here.
"""
