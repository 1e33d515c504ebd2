"""Files: resumable downloads, atomic writes, the cache folder."""
