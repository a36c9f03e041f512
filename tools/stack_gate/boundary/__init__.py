"""What keeps a change from judging itself: who judges, which files need a review of their own, what an approval covers.

Imported by report, gate and __main__; imports collect, diff and findings.
"""
