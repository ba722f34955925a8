// For tests of what a user may not read or write.
#pragma once

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <thread>

namespace twofour {

// Runs `action` in a thread that permissions bind, as they do not bind root, for whom tests of them
// would show nothing. Linux keeps capabilities by thread: the others go on with theirs.
template <class Action>
void bound_by_permissions(Action&& action) {
  std::jthread([&] {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
    const auto call = [&](long number) {
      if (::syscall(number, &header, sets) != 0)
        throw std::system_error(errno, std::generic_category(), "capabilities");
    };
    call(SYS_capget);
    for (const int passing : {CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH}) {
      sets[0].effective &= ~(1U << passing);
      sets[0].permitted &= ~(1U << passing);
    }
    call(SYS_capset);
    action();
  });
}

}  // namespace twofour
