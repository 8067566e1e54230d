"""The virtual radio: adverts from a simulated site, heard by virtual gateways.

It knows the site by its contract document only, and shares neither code nor constants with
what locates: a locator that does well here does so on its own. What is modelled, and what is
not, is described in docs/simulation.md. The only part of `gateway` that needs numpy.
"""
