"""Measurements that anyone can repeat. Each prints a card, a table and one line of JSON last."""
