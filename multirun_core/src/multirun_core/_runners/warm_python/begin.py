_PRISTINE = dict(globals())  # before anything else: what a script finds in its `__main__`

# Started as a script by the interpreter that runs are forked from; see `forking`. In a run, `main`
# returns, and this file ends, when the run does.
import sys  # noqa: E402 - what is above must come first

_KNOWN = set(sys.modules)
sys.path.append(__file__.rpartition("/warm_python/")[0])
__import__("warm_python.forking").forking.main(_PRISTINE, _KNOWN)
