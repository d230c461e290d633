"""The store watches itself: observe, orient, decide, act; each knows only what comes before it."""
