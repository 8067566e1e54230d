"""The gateway: hears adverts, sums them up in windows, publishes readings; owns the wire contract."""
