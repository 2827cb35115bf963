"""Properties that hold for whatever comes in; `FO1_FUZZ_SECONDS=N` looks for exceptions to them for long."""
