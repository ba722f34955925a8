// Visibility of the symbols that libtwofour.so exports; everything else is hidden.
#pragma once

#define TWOFOUR_API __attribute__((visibility("default")))
