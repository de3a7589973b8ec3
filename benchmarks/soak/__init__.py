"""A service under load while everything around it fails: was any call, record or ticket lost?"""
