Finding = selftest = None
