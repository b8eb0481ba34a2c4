"""TLS as QEMU's sockets speak it: certificates, contexts, sessions. Imported only where asked for.

Python's `ssl` does the cryptography; this adds what QEMU judges of certificates, in its words.
"""
