"""The gateway: hears adverts, sums them up in windows, publishes readings; and owns the wire contract."""
