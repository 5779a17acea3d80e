#include "limits_table.hpp"

namespace understudy::documents {

std::vector<Party> limits() {
  std::vector<Party> all = limits_of_guests();
  const std::vector<Party> host = limits_of_the_host();
  all.insert(all.end(), host.begin(), host.end());
  return all;
}

}  // namespace understudy::documents
