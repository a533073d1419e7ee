// check.h: what must hold or the process dies. For our own mistakes only: bytes from a peer never reach a CHECK.
#pragma once

namespace sidestream {

/// Prints the failed condition with its place on standard error and aborts. Never returns.
[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace sidestream

#define CHECK(condition) ((condition) ? (void)0 : ::sidestream::check_failed(#condition, __FILE__, __LINE__))

#ifdef NDEBUG
#define DCHECK(condition) ((void)0)
#else
#define DCHECK(condition) CHECK(condition)
#endif
