"""How the backend is imported, and how the process keeps memory."""
