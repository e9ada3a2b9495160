"""Onionbalance's ring, run by the bench: a consensus on disk instead of a tor, answers on standard output.

Arguments: the directory with `consensus` and `microdescs`, a blinded key in hexadecimal. Each line on standard input,
`load` or `ring`, is answered by the seconds of processor time it took; `ring` also by the HSDirs of both descriptors.
"""

import io
import logging
import sys
import time

import stem.descriptor.microdescriptor
from onionbalance.hs_v3 import hashring
from onionbalance.hs_v3 import onionbalance as program
from onionbalance.hs_v3.consensus import Consensus

logging.disable(logging.CRITICAL)
directory, blinded = sys.argv[1], bytes.fromhex(sys.argv[2])


class Tor:
    """What Onionbalance asks its controller for."""

    def __init__(self):
        self.controller = self
        with open(directory + "/consensus", encoding="ascii") as file:
            self.consensus = file.read()
        with open(directory + "/microdescs", "rb") as file:
            self.microdescs = file.read()

    def get_md_consensus(self):
        return self.consensus

    def get_microdescriptors(self):
        return stem.descriptor.microdescriptor._parse_file(io.BytesIO(self.microdescs))


class Service:
    is_testnet = False
    controller = Tor()
    consensus = None


program.my_onionbalance = Service
for line in sys.stdin:
    start = time.process_time()
    hsdirs = []
    if line == "load\n":
        Service.consensus = Consensus()
    else:
        hsdirs = [hashring.get_responsible_hsdirs(blinded, first) for first in (True, False)]
    seconds = time.process_time() - start
    print(seconds, *(",".join(slot) for slot in hsdirs), flush=True)
