"""A checkpoint to ONNX files that compilers like, with proof that nothing changed on the way.

Needs the extra ``export``; nothing is imported until it is used.
"""
