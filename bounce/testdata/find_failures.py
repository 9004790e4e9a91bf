# Prints the recipients that flufl.bounce finds in each notice.
import email
import sys

from flufl.bounce import all_failures

for name in sys.argv[1:]:
    with open(name, "rb") as f:
        temporary, permanent = all_failures(email.message_from_binary_file(f))
    if not temporary and not permanent:
        print(name, "nothing")
    for kind, found in (("temporary", temporary), ("permanent", permanent)):
        for address in sorted(found):
            print(name, kind, address.decode())
