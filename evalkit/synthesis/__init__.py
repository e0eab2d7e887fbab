"""Queries and judgements by a language model, for collections that have none; and how far such
judgements agree with people's.

What is made here is marked as synthetic wherever its figures are shown (`datasets.synthetic`).
"""
