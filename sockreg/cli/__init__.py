from sockreg.later import load_when_used

load_when_used("inspect")
