"""Which key a number means: an XT scan code, 0x80 and up for those behind 0xE0. Constant data.

Observed from the trace that real QEMU writes of send-key with each number.
"""

from __future__ import annotations

_KEYS = """
    - esc 1 2 3 4 5 6 7 8 9 0 minus equal backspace tab
    q w e r t y u i o p bracket_left bracket_right ret ctrl a s
    d f g h j k l semicolon apostrophe grave_accent shift backslash z x c v
    b n m comma dot slash shift_r kp_multiply alt spc caps_lock f1 f2 f3 f4 f5
    f6 f7 f8 f9 f10 num_lock scroll_lock kp_7 kp_8 kp_9 kp_subtract kp_4 kp_5 kp_6 kp_add kp_1
    kp_2 kp_3 kp_0 kp_decimal print f16 less f11 f12 kp_equals f20 lf - f13 f14 f15
    - - - - open paste - - - - - - - f23 - f24
    katakanahiragana lang2 lang1 ro f21 - - hiragana - henkan - muhenkan - yen kp_comma -
    - - - f17 f19 again props undo - - - - front - - -
    audioprev - - - - - - - - audionext - - kp_enter ctrl_r menu -
    audiomute calculator audioplay - audiostop - - - - - - - - - volumedown -
    volumeup - ac_home - - kp_divide - print alt_r - - - cut - - -
    - find - - - - pause home up pgup - left - right - end
    down pgdn insert delete - - - - - - - meta_l meta_r compose power sleep
    - - - wake - - ac_bookmarks ac_refresh stop ac_forward ac_back computer mail mediaselect - -
    - - - - - help - f18 copy f22 - - - - - -
"""

KEYS = {number: key for number, key in enumerate(_KEYS.split()) if key != "-"}
