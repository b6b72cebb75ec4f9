"""Unrolled training: a few steps of descent on the set, differentiated to the loss on real images behind them."""
