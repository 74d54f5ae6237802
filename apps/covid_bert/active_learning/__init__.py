"""Which study teaches most: scores of uncertainty and of place among the others, and the choice by them."""
