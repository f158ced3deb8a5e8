"""Work 后台任务: long and scheduled work: a row a run, with progress, cancel, resume; one worker at a time.

任务 job_run: what runs, for which organisation, for which slot (a scheduled instant or a person's request), how far.
Files: rules (states) > models > queries > commands (queue, cancel, resume) > run (the handle a job gets) > engine
(claim, execute, leader) > planning (which slots are due). Callers: slices' jobs.py, timetable, the progress pages.

A run's effects and its progress are committed together, and only while the row still names this worker: whatever is
killed at whatever point, each item takes effect once.
"""
