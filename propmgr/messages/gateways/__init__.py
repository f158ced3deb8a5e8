"""Gateways 通道: how a message leaves the house. port.py (what the house asks of a provider, in our words) · tencent.py
(text messages, Tencent Cloud) · smtp.py (e-mail) · demo.py (a file, where no provider is named) · choice.py (which of
them an installation uses). No gateway knows the database.
"""
