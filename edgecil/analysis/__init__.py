"""Looking inside a run: how shallow and deep layers learn (MEMO, Zhou et al., ICLR 2023, 3.3)."""
