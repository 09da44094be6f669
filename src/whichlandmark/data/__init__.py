"""Read, import, clean and split photo tables; draw synthetic test worlds."""
