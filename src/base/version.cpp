#include "base/version.hpp"

namespace understudy {

const char* version() {
  return UNDERSTUDY_VERSION;
}

}  // namespace understudy
