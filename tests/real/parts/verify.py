# Verifies the DKIM signature of the message on standard input with the key that the name server at
# ADDRESS PORT publishes, and says which one held. Another implementation than the one that signed.
import sys

import dkim
import dns.resolver

address, port = sys.argv[1:]
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers, resolver.port = [address], int(port)


def key(name, timeout=5):
    answer = resolver.resolve(name.decode().rstrip("."), "TXT", lifetime=timeout)
    return b"".join(answer[0].strings)


verifier = dkim.DKIM(sys.stdin.buffer.read())
held = verifier.verify(dnsfunc=key)
print(("held" if held else "broken"), verifier.signature_fields[b"s"].decode(), verifier.signature_fields[b"a"].decode())
