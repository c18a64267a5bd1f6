"""What the numbers of site:netvane_verdict:worst1m mean (prometheus/rules/home.yml), in words and colours."""

WORST = {
    "0": ("ok", "green"),
    "1": ("degraded", "yellow"),
    "2": ("IPv6 broken", "semi-dark-yellow"),
    "3": ("captive portal", "light-orange"),
    "4": ("web sites refuse", "orange"),
    "5": ("DNS broken", "dark-orange"),
    "6": ("beyond the provider", "light-red"),
    "7": ("the provider's line", "red"),
    "8": ("router", "semi-dark-red"),
    "9": ("own link", "dark-red"),
}
