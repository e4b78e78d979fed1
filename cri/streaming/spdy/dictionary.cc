#include "cri/streaming/spdy/dictionary.h"

#include <string>

#include "absl/strings/str_split.h"
#include "cri/streaming/spdy/frame.h"

namespace berth::streaming::spdy {
namespace {

// Each with its length in front.
constexpr absl::string_view kWords =
    "options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-language,accept-ranges,age,"
    "allow,authorization,cache-control,connection,content-base,content-encoding,content-language,content-length,"
    "content-location,content-md5,content-range,content-type,date,etag,expect,expires,from,host,if-match,"
    "if-modified-since,if-none-match,if-range,if-unmodified-since,last-modified,location,max-forwards,pragma,"
    "proxy-authenticate,proxy-authorization,range,referer,retry-after,server,te,trailer,transfer-encoding,upgrade,"
    "user-agent,vary,via,warning,www-authenticate,method,get,status,200 OK,version,HTTP/1.1,url,public,set-cookie,"
    "keep-alive,origin";

constexpr absl::string_view kTail =
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 "
    "Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 "
    "Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May "
    "Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,"
    "image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

std::string Build() {
  std::string out;
  for (absl::string_view word : absl::StrSplit(kWords, ',')) {
    AppendU32(out, static_cast<uint32_t>(word.size()));
    out.append(word.data(), word.size());
  }
  out.append(kTail.data(), kTail.size());
  return out;
}

}  // namespace

absl::string_view Dictionary() {
  static const std::string* dictionary = new std::string(Build());
  return *dictionary;
}

}  // namespace berth::streaming::spdy
