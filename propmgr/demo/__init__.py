"""Demo 演示数据: builds the demo city through the commands, as a person would; never writes a table directly.

build.py. Callers: `flask demo`, `scripts/run`, story tests. Running it again adds nothing.
"""
