"""Re-ranking: votes, class centres, distractor penalties, query expansion. Arrays in, arrays out.

All are *inductive*: a query is answered from the gallery alone, without other queries.
"""
