"""The questions that are put to real QEMU and to vmd alike, one module a subject.

A question is a public function that takes a `Stage` and plays a scene on it. What comes of it, the
stage's transcript, must be the same for both.
"""
