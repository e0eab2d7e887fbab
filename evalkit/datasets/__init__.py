"""Test collections: the embedded sample, a BEIR folder, ir_datasets, or qrels alone.

A new kind of collection is one module here that satisfies `evalkit.types.Dataset`, one YAML in
conf/dataset/ and one test.
"""
