"""The device's store: numbered releases of a classifier, of which one is current at any moment.

    lock        held by whoever changes the store
    state.json  floor, trusted keys, what is committed or being tried, whether it can be taught
    current     the release that readers load; swapped by rename
    blobs/      manifests, graphs and heads, each under the sha256 of its bytes, never changed
    incoming/   what is being fetched

`arrangements.json` may be beside them: what a reader measured, of no account here.

Every change is one new file that takes its place by rename, after the disk has it, so a reader or a
power cut meets the old store or the new one. `updating` is the state machine that goes through
these changes, `reading` is for those who only read, `fetching` brings releases from elsewhere.
"""
