"""Preference data: battles and outcomes, where they come from, what is cleaned out of them, and what is derived from them."""
