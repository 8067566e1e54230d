"""The gateway: hears adverts, sums them up, publishes readings; and owns the wire contract."""
