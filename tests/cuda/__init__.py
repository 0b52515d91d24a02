"""What only a GPU can show.

Without one all of it is skipped; SEGUE_TEST_DEVICE=cpu tries the tests themselves.
"""
