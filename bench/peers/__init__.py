"""
What others would write: the same route, table and rules, each in the manner of its own community.

All of them answer after the commit. None keeps fields that the SDK does not know, which is less work than ours does.
"""
