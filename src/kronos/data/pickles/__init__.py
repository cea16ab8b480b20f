"""The guides' data sets: pickles of frames, read without running them."""
