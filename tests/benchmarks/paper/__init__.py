"""A paper simulation of the road on a cluster; `page.py` is where to begin reading."""
