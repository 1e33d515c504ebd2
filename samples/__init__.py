"""Samples: programs that train, evaluate and use models, with the command lines of Matterport's."""
