"""Kit: what every page and interface stands on, whatever the portal.

limits.py (hosts, body sizes, cookies, forged forms) · requests.py (reference number, log line, figures) · headers.py
(what a browser may do with an answer) · languages.py (中文 / English) · failures.py (error pages) · assets.py
(addresses of static files) · pages.py (what templates may call) · redirects.py (own paths only) · readiness.py (can
this process serve?) · acts.py (acts of the house during a request). Imports nothing here.
"""
