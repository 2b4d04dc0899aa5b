"""Why a score is what it is: contributions of every feature, reasons in words, summaries and plots."""
