// Boost.JSON for the fuzzers, compiled with their sanitizers and coverage.
#include <boost/json/src.hpp>
