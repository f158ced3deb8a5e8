"""Messages 消息: text messages and e-mails the house sends: queued with the act that needs them, delivered after it.

消息 message (to whom, which kind, with which parameters) · 投递 message_delivery (how its delivery stands) ·
待发 message_due (global: ids and instants, so that the worker finds work before it knows for whom)
短信 sms · 邮件 email · 验证码 login_code · 运维告警 operator_alert
Files: rules (kinds and their words) > models > queries > commands (queue, trim) > delivery (the state of a delivery) >
jobs (the worker's part, the only one that calls a provider, through gateways/). Callers: identity (log-in codes),
timetable (`jobs.deliver_due`, `commands.trim_messages`), the command line (the demo outbox).

At least once: an attempt is committed before the provider is called, so a crash may repeat a message and never
forgets one. At most five attempts. What has expired is never sent; a secret is wiped when its delivery ends.
"""
