"""Load for guarded functions and HTTP endpoints: arrivals that wait for nobody, and what became of each.

An open loop: a call is due when the schedule says so, whether or not the ones before it have come back, and its latency counts
from there. A generator that waits for an answer before it asks again hides exactly the waiting that its users would have.
"""
