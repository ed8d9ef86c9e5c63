"""The three networks of MPCC (appendix C of the paper) and what they are built of."""
