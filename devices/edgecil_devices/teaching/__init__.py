"""What a person taught the device: kept beside the release, as pictures, and put into every answer.

pictures -> overlay (files, within a budget) -> features -> head -> labels beside the release's
"""
