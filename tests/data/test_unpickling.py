"""Pickles of frames, read as data: what any pandas wrote comes back, and nothing else in a pickle is ever run."""

import base64
import os
import pickle
import random
import struct
import tracemalloc
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.data.pickles.frames import ALLOWED
from kronos.data.pickles.pickles import read_pickle
from kronos.errors import SourceError
from reference import bars_frame

COLUMNS = ["open", "high", "low", "close", "vol", "amt"]


# Reading what others wrote --------------------------------------------------------------------------------------------

WRITTEN_BY = {  # zlib, then base 85: three hours of bars called A_1h
    "pandas 1.5.3, numpy 1.24.4, protocol 4": (
        "c-oy*-D(p-6y7A8TE${(X;ZZAl}JShR8+hWn>4Z5E{z~~XBlQUlkAfHb7$5zV4+^5ZD1~h9xnw!=ri~vK8J6hXC~91RIi+c`DSP4oH^$^-^_"
        "vi<*RM!whz*-lT{z&OiJT6<y9}qShbVUh=IJ`q=Ihf@d-Tm1pBZeZ4z}ekjt012eDvTOhaCcXiU2-;~;OYhl$tQ9{r=aoHrIE3|xL;0`eBg<"
        "23MkAtSD`QJd%DJWBf`?@=C#fMyx(qgRqKFNwLxa!;s@WxWyPHT12woPc8upiyw)2;RVoQ*b7n(joXWvfLK^RAnNIoo6sS9<7&T;W@Ngt*zh"
        "Kbmv$C++pLhHP(KunL%v?_YB@QxMJ|J!6ycv8hl}J&0x)7bA$&5t(OKj&AdTts|FaBoOJU5>4=fHG7kff>4Y)If=b6Js(t`FSg3{Z3bolD<5"
        "ib(tm_RDvt6>O=Fr@KD9dMKUEwxX9sFs3Rx#<%o%4u4cVzMP7<V79aJQzoQ^(s$%3@TPA9PV&r7+pWh`lgT=a)VtA@(#9z*JIptR&XT57Db!"
        "`d8c-5)(nhFzwqq_@<dSPhvw(U7f>Z{8c$SraLVX^s-1u+TXiSUaMJGE9=zjv9{94;^i<#R+pnVKdf$4xAo)Q+o_h~MUk|9L6Yq+Uy&Ea)hJ"
        ">GkyHEx9IDFx&39?=pRR_D1<PWE%JgZ)`nL3FXBM&c)BQewT2ae*=gXv%vG*YFj&UQnhNRQsOkj@ot0Y%f*C`BDW%v<B*^rZGEP$>T(?zoh-"
        "YtAElyuG>4-zp!wU&19L@ES63wZVf>4dbahZP#4E;woDDM}gLl90L#--KhHV<3M3fO)ac"
    ),
    "pandas 2.2.3, numpy 1.26.4, protocol 4": (
        "c-oy*U279T6x}47T1Bxnv?<!w7m<n(sHpfLHf>_DSsKCjGR$r!*`@pC&a7>~LVf5*U><~C9|b|^Px5!@FVH)aNz+uHoP{~FGjs3Ud+wPzw7-"
        "0{E!_@4+UsQ12RWP4xI=l(OEOmLW;9|TuQ#cnn|gc(k3PWxtVo+gy$s~?<?TT%SQgWe*CHCz9?Lk$n;T)`?QReM(Ok|O3lat{ADe)@P4YMmy"
        "xouySJ|k|b8#M}{h{|L4@E$;jP}th$(WbKTx7W?)W)*j2=W^G)?3cNv5ufoaNz{r!HQFGrkv6-__MOy5&cwUB8%M@FgP8qmt^53wA=00Z*01"
        "AECKGI@!6VaKiABlK7<Db9~xXS_|)JtgU=1VGPq{2Zm>DTLxa|9gIi|apw+4ah9#%nJU}{P<gLuZz+*aL%(0--af+%xf*mZ>!eoUyY@hL(OF"
        "7o{28r1o*-~?8?mw30(O6fwgH;EA#;+(Q{kaPs@#n5AzMbIi;}!1K6nE-)J4soL>hgmgs;d+xdl<17ChGjsha|+FMgo{h%8r%9+W9ehl}rDM"
        "8$)6uh#01QM+e_D6BkKr%3D|GFd2VURwi_(MS@-y2}%3=W97A*>uP0#db_NnG_rU(jG@)#C@v0LH>zvhpZaCD6)%dU?J-HVzkEer7+0f+6+}"
        "+)6L735`#0aEqyKa@Xe?M3D^zFBtJb%rCp#6y`VaT}{CQO^<DD;)ZpPk&yf?v(;2M%{motGm+HaCvU0tUzP?g~)7-d6Fk5~X*FQ$uT6TDmaU"
        "?}N~9uE>RLA924@I)#EJ_~sE6zPVvr-xM<qAob;<S9xS-I9>H4Bv!Po?{??00ug-a{"
    ),
    "pandas 2.2.3, numpy 1.26.4, protocol 2": (
        "c-n<jTXP#V7+uF{nr^ui3JtfmP)fVyVn}IA3Z-#^TbgX+g19XgBeZMTyJRmuD=lqi@JxA#-8?hHGc(Na%x_445x)SmT6uyqVY;62`6PW8>3m"
        "1JKQn~o&03bVLKj2Sf&ojrOf-Tl=Z#*@5^lGcWH+^inG3(5KE$k}BWTjkacC+cN+r)z7K=v0Qr73Wuvg<O*xaZ_Hs&VoG>&|+=Wo*@9Yn!q%"
        "&A`n*f<=dMKai`@+L(rBbMiE%ceOGvQ)^t2&9eq%F9+c^(v0I);8>b23eN}!scmd*f{Fd)Q){T=FKULnT*m!JU+q`1W%4}jNmE9t+{h<eT1h"
        "?%C6iRsL12qjEd+j;hCKWV?0Z6!g1?5+chk-+wJv#)TjSkOX4|yCp_x?YVH3X{<UnZW(8*ro-^neykzjQ!7B!@8(cQnG}x+e_r5W#8wS@V3&"
        "yb4n|MA{M}C3eMTwXEfKtDR6t5|zwuqxZ9rmPaDH3X9oFX{w&W!Og!7JN1)4{9GzD9TXJuVtP6WpdLzf0H385?K+-_3ZuHpIC~KwYIQoDb(i"
        "-83guowz{oy6(g_-Uut|?=0cXlKQs@8WZY&#@o}>FH5}R?{u(OWzGgX#YJs~Q9s1HUcGF4b{ChtL&^%`OmJM*vp;1qu4s!T67O+|C0|FTO7p"
        "ndE=G8t;DZCtrB1+QlyFgT&@w}F(rb^1+2{V@5Z9gX{PYdcvR3KoVC&xA9ci~#%K23mZ1S#+<*7nd$N_a$sw>i5KRx&NY<r9qf>lHE#u7d%N"
        "p2C`aNOB&zp{t8=_p~BuBpJsrH*b9tf@|^pTznIuEcGB(#wsqmu-SOWiRX7_++olr)3#J@Y%s-KL1adFUm4s5_~l&<BjmO#5ekmozkM_wS{B"
        "5e=b<Nzn{F=IbK@Lhrju|f1FSzzAfXwBj`wc?+-zB>uE3Nzz@?bOQ9j_^#qr~zLgc~tzvF%X9S-h5My-x@TxaoiB^*du7uGe=<^Xmf~a~D)t"
        "iAIy(324`T@nJ9@B(NrWGG|km#*2DRY5zh)lmqv=_6!z+eb?3*~aG1S@E_7^usss?wPGJQm0wh(c}lUy7Z{tp"
    ),
    "pandas 2.2.3, numpy 1.26.4, protocol 5, mixed kinds of numbers": (
        "c-oaz%}*0S6yI&Phzb!wDG8t+3x_5e4<1Z_77emcjYpGaGP|AaZrCq(W(5*S^uR}xx%u>LV#1%~-=P<;`ewS&7Vy9%JMZnxywBfn=2PYCAIs"
        "3=0Hn1>9{V8grZnzQUU!p>)xC^H4CKvqD(FkCe}SdXZ~!%Fk*J%2d@y`Ghy}}H8uEHXW7=gI2RYFQ6L)93|BvQ!wy+>!;P8P7$U7vD)4<&c8"
        "F7@2Iy@ccQM%vvjw;In7vyc?Wl7}Zo~J$5zRej|jbAH;vI?@I{h;iK{Zv&UOWrf+ogBkksM%#{K8IGTwfPr^o@_&aW1DvQ2&CBrfyd;ylLw&"
        ")VobHd!@yN;Yy%IO%8Ol6vp?xi4f3fKa;cEZg#`beECoaH{ki`|_vck?{}KL`E(e-8FLtA07+d(gX=vx((`z{|+2vv9$IwQE=SHFJusz1>4&"
        "_LQTO?+?<ds^(Cip9|a;9r)bdW9}?+;-Y<=8ozWfU=(AQ^L$n2RiTg)*O(H!zUiR2@Bprs+UGc}(+A7xa1rt&bPbTEUWfDrYN6Sq!rLAqjD&"
        "kpPBU(ux&#TltZ~aq+6UFl8o!h#|Psy14aX;k?MUoV>V(#riMg%m|@%9q46&kaT}<K<U={n%ZelcZYQp0T+hT=vxhEaUN`~Xw2rrvENopV~_"
        "pV9`wVy1Tf~+EFn)7H*HhE5fa$(H~dZ2Tz~6AYp?IB*F=UhvpRKJHNG!CY0scs{ptLeJ*}#3d`v2MMcI3h^CP_xT#Ll>I1^Z-wUOlN2HR#&A"
        ";XU`%Xf18tP7y=Vj47y;Kjw4NKxzTRU#1+RCBG35vdUP-eBx8;)S%U)hZ3cWS5gpp5lc?w<M$v!^h@?=a|SpT;b}u"
    ),
    "pandas 3.0.6, numpy 2.4.6, protocol 4": (
        "c-oy*OK%e~5Z)x4&;k{O3aEG#kPr%&NR<lWfaoIu+OE0?I9HZ;<78La7rS2CNK}+V(?;?Eslz|v%8ma3`~l8z;|62LX-V5t9m${9o*8?-Z!+"
        "8Fryr)F#uf;3k<5A^DhZ96Gy^f-pqxHSX~<w7?tg$Ss0x#W?G(h!z^3NLDXaMrXK6%(tQOLUwpoh4=a+)m?W_&H(Oq289whLc?9c_o1(HXJ?"
        "{)%49O<KsqdZKyHKM|YdBA;|rnHM;Ny^+f%6OW)Tw0cuC5ST^T$${HW$Zw`;J_}tf~r-pDpsin-bGPv@@^ti5yjRc=<f~AOQP@?Y};P_i$hJ"
        "8!NKX*KN=(B*SuaV4B)QDdm5`6=QKXh_)y~$jq@58G&Tmft<iX@aYgTIG*%Y?pC!he+($YhB(9tVzROg?m}5bvV-@AR1M8^N^r%Elw#l-ZLo"
        "){AEQ#0#S&@6_?iEFOxK<K3QFahhBZ4V%@zNWFB;CzJ$?V3WJXxY{hczX)6WVR)aPBov{iwaD#aX>o`EA<rm3XZ_YYcU%Bwg;s5j=nYXOMJH"
        "+D&>>Qc~~ofuQ(tO%z{@i1_Y^i1SiJ$%7duEW+aU{5BSMDTp_aIyZ<V5v8|rfHMs_FtqO>!Db}u-OlCJ;^s*lB0Y@zA;aV@DIyzs<3B<tj_x"
        "6`-mEuwjGhC-69~c_*A8<uy_q9rYFF#UJOg9|e;j(UK#sFj+BsdMetp`weP{C9M8z<^e*US@TmJGLQ66KzD3eyo-hjA1QYk!B5Vu+x<Cvkj9"
        "OtqFScSgiG~2~Tz7%6a7C|x16x}AlO2ED&3$Ug7ju<B)<5X4TI^IY*$L@l6S4b<MZMD2g0~9qQ%{;+B1coI6br`mmy)4Iv`~yz8$c6"
    ),
    "pandas 3.0.6, numpy 2.4.6, protocol 5, in UTC": (
        "c-n20&u`N(6vxvxEsQY@4Kyb4a}q-3Km`&Y4nViHz_w^b+Bi*`EGKp9X!%9ruytZ$9M)};4@emP60Y3%AK)+G3^#7@>^N*4OQd`q`#nGV^Pa"
        "s^{Wx7U)Uz$PIg9R6!D}%NyEqkmq>UMVmf(Ph58~E4u`TM{L_seR{AzB~aH51XypWM3#D3ZcaEN;(0pGK8e&nn#<^SN$C$$IiJv%*g5qunFV"
        "eC2UK0&thk;do4EQtFJq^5^9NjyjJQRF63U}vtYrmTN@Z=Ce}Z0g2LE;qE^)LPeiPwRcH541kf+SEFuwVmsZR^zGG1>LXJSey~Osx|=HW&K#"
        "<<7M}uIN0A4%c5>oc<GVobUKTF;87pTV8XU)R%IY~sU;Yg@zZwZ`OFJ}Q8o2FM^0lIU{sQ`SY`R$6>E@`so`vN$tFn~HcpA)XHZBs(1Pp(cU"
        "tDvqOG#og$x7kq1@mk!F>pN8KJnpd6=C}dsdFjVP~Cm<(9^@Tj4Oe!V)j+DJvLXyjJ^VcH}A{tR8C@IBId9(I^zp-~P_24dj+5kLEqdVE1Zn"
        "C?}K<Ckj)RWDb)Xnc$}&wvJ>OyP{RHMNYS5)piBFz{@X&h`%{Tya~h)Bt0{VNeI<Xy&hD5#g8@sxZ_6>U*&b=!xslk5U?Kzo139L5S>gd_{v"
        "G-0V-i$Kmf^v!r#^%N768MybsbrZ__*fLH%cVBG&O@^yO-Swm7I+=rJg}4CW}aEhwjAS<sZS6@}8AQa&PoyTpf5P!$GmUR%o|v*}~nlzi!IL"
        "AR3AT{@&|(y3$B+^M%@WUz*piGh%?TT{mM>2u%4YKHOk^ADwT{>yhzISdz26%IIgCHSSGdSt1R$aPb~U^nJ`l*#jNl@4SM(mi3*6-re?h{}q"
        "IfCb!NvbtS$fAJ9%5QbH`uR$Qp7~E12vW8qA_f+#D_96Ev>Si&VHh_hEY!kSm_R|dF{{_{K;{p"
    ),
    "pandas 3.1.1, numpy 2.4.6, pyarrow, protocol 4": (
        "c-oy*OK;Oa5Oz{0ZRmqQMX7iciVzByNR<HffaoIu+D7#Oj;LC#opsi#U)XEf94gA8p^^50)a9RW<;H)2U%(k|++cRSZb`)nNAb7botfR4Z@x"
        "V=KSmWpJqLoDYiNlIUX5|s#i`)6HfH!)f&(H>#Qk^TKs30Cf?gu{LT=M^qJ%WPkdY+Be%cIhh<hXf->G#!a(1`#Z*b>x+5`EXou0V}ei3D1>"
        "^ZwWLALZ!#$gu3{U%c3gUn|hP7>UQuqYu;6s9c6940L*%2M!g2(C;{M8`N1t&%O?ix;BNDRruyv4NnMc%{qwu}p=R-DNR6&ez9y>9MdZYwI^"
        "W>eVrru!pS=#>n$yMGsbUxU2D=#)ifR8XszWr16Qy6^*MJ+c_R;G@feQ)bkpRtyKZX;uCh}K{-MwTqX5Ahp2=h$C6B^Q<m=|u>(xak5ben`y"
        "_4JI3<E#Kq1*fn{p1^X_;4wv7)#Ov<p71{Z(0EyZTy^M0+n;;)T66U25GFH56l{8JdjySQ<8gXTfKHuav<FP{B@vF7p{l1ahMUVc&yJ14^cR"
        "ob(7vRd~n%a;ZXI24rG^M=kCnJ9AytOY{z}*?mTekger{Bva#r#z~EJjk6l(G^&l{pRUt(Yc7gONWC8QqdmuuQt~G9allTE$d0h`FJ47?GeP"
        "Yp^OCfS<{H-p5YONK%6A#$9u9UWfqG>&H$y2ZD^n{s|3wsVK$sU0DEwu`R$EW}#oF}wIpBgW@!1ij74+ReDDLl{Y0YXY64$Y_OS<yh=lMR3U"
        "XZ<YtNPQlWP{Obyu5uTA(Jkg6Oh$tm9tcU_~6IHK(;Qe(^)A^dZiHN*wOz*8n)(*+l%$D(^bRx^69%my7BoNpj;lnUa$B>Q9-!Z+=RRq{Q5{"
        ";SgIg$-IOp$*W8FQ*<78{P_m+^A&MUp0kv=&N?Ew-HiU)`2*XMzJ0L{N7~FXWl4RG%JvF?FeQ2W;b+Z^`3THt+wh3H#$7u%p{sH)`?uq"
    ),
}


@pytest.mark.parametrize("version", WRITTEN_BY)
def test_pickles_of_every_pandas_are_read(tmp_path: Path, version: str) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(zlib.decompress(base64.b85decode(WRITTEN_BY[version])))
    frame = read_pickle(path)["A_1h"]
    numbers = np.arange(3)[:, None] + 10.0 * np.arange(6)
    mixed = "mixed" in version
    np.testing.assert_array_equal(frame.to_numpy(), numbers[:, [0, 4, 5]] if mixed else numbers)
    assert list(frame.columns) == (["open", "vol", "amt"] if mixed else COLUMNS)
    assert [str(kind) for kind in frame.dtypes] == (["float64", "int64", "float32"] if mixed else ["float64"] * 6)
    assert frame.index.name == "datetime"
    zone = "UTC" if "UTC" in version else None
    assert (frame.index == pd.date_range("2024-01-01", periods=3, freq="h", tz=zone)).all()


def sample(value: Any, path: Path, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["plain", "slice", "consolidated", "texts", "integers", "rows", "one", "big endian"])
def test_frames_of_this_pandas_are_read(tmp_path: Path, protocol: int, kind: str) -> None:
    frame = bars_frame(30).rename_axis("datetime")
    frame = {
        "plain": frame,
        "slice": frame.iloc[3:20:2],
        "consolidated": frame.assign(extra=1.0, more=2).copy(),
        "texts": frame.assign(symbol=["é"] * 29 + [""]),
        "integers": frame.reset_index(drop=True).round().astype("int32"),
        "rows": frame.set_axis(range(5, 35)),
        "one": frame[["open"]],
        "big endian": frame.astype(">f8"),
    }[kind]
    found = read_pickle(sample({"A_1h": frame, "B_1h": frame}, tmp_path / "x.pkl", protocol))
    for key in ("A_1h", "B_1h"):
        left, right = found[key], frame
        if kind in ("texts", "big endian"):
            left, right = left.astype(object), right.astype(object)
        pd.testing.assert_frame_equal(left, right, check_freq=False, check_column_type=False)


def test_a_single_frame_goes_by_the_name_of_the_file(tmp_path: Path) -> None:
    bars_frame(30).to_pickle(tmp_path / "BTC_1h.pkl")
    assert [*read_pickle(tmp_path / "BTC_1h.pkl")] == ["BTC_1h"]


# Reading what nobody should -------------------------------------------------------------------------------------------


class Calls:
    """Pickled, it is a call."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def refused(path: Path, *words: str) -> str:
    with pytest.raises(SourceError) as caught:
        read_pickle(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: refused: ")
    assert "\n" not in message
    assert len(message) < 500
    for word in words:
        assert word in message, message
    return message


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    ("function", "args", "named"),
    [
        (os.system, ("touch {marker}",), f"{os.name}.system"),
        (eval, ("open({marker!r}, 'w')",), "eval"),
        (exec, ("open({marker!r}, 'w')",), "exec"),
        (getattr, (pd.DataFrame, "to_csv"), "getattr"),
        (pd.read_pickle, ("{marker}",), "read_pickle"),
        (pd.eval, ("@__import__('os').system('touch {marker}')",), "eval"),
        (np.load, ("{marker}",), "load"),
        (np.fromfile, ("{marker}",), "fromfile"),
        (np.memmap, ("{marker}", "float64", "w+", 0, (3,)), "memmap"),
        (pd.DataFrame.to_csv, (bars_frame(3), "{marker}"), "getattr|to_csv"),
        (pickle.loads, (b"cos\nsystem\n(S'touch x'\ntR.",), "loads"),
        (open, ("{marker}", "w"), "open"),
        (np.lib.format.read_array, (), "read_array"),
        (__import__, ("os",), "__import__"),
    ],
)
@pytest.mark.parametrize("where", ["alone", "value", "cell", "attrs", "key"])
def test_nothing_is_run(
    tmp_path: Path, function: Any, args: tuple[Any, ...], named: str, where: str, protocol: int
) -> None:
    marker = tmp_path / "marker"
    given = tuple(arg.format(marker=str(marker)) if isinstance(arg, str) else arg for arg in args)
    call = Calls(function, *given)
    frame = bars_frame(5)
    if where == "cell":
        frame["bad"] = [call] * 5
    if where == "attrs":
        frame.attrs["bad"] = call
    content: Any = {"alone": call, "value": {"A_1h": call}, "key": {("a", call): frame}}.get(where, {"A_1h": frame})
    message = refused(sample(content, tmp_path / "x.pkl", protocol))
    assert any(word in message for word in named.split("|")), message
    assert "is not a part of a frame" in message
    assert not marker.exists()


def op(name: str, *parts: Any) -> bytes:
    """One step of a pickle, by hand."""
    codes = {
        "global": b"c",
        "tuple1": b"\x85",
        "empty": b")",
        "reduce": b"R",
        "build": b"b",
        "stop": b".",
        "dict": b"}",
        "none": b"N",
        "mark": b"(",
        "list": b"]",
        "appends": b"e",
        "memo": b"\x94",
        "setitem": b"s",
        "tuple2": b"\x86",
        "newobj": b"\x81",
        "pop": b"0",
        "ext": b"\x82\x01",
        "persid": b"Q",
        "inst": b"i",
    }
    if name == "text":
        raw = parts[0].encode()
        return b"\x8c" + bytes([len(raw)]) + raw
    if name == "global":
        return b"c" + parts[0].encode() + b"\n" + parts[1].encode() + b"\n"
    return codes[name]


FRAME = op("global", "pandas", "DataFrame")
HANDMADE = {
    "a state on a class": FRAME + op("dict") + op("text", "__len__") + FRAME + op("setitem") + op("build") + op("stop"),
    "a state on a function": op("global", "numpy", "frombuffer") + op("dict") + op("build") + op("stop"),
    "a call of a text": op("text", "os") + op("empty") + op("reduce") + op("stop"),
    "a call of what was made": FRAME + op("empty") + op("reduce") + op("empty") + op("reduce") + op("stop"),
    "a class as a value": op("dict") + op("text", "A_1h") + FRAME + op("setitem") + op("stop"),
    "an extension": op("ext") + op("stop"),
    "a persistent name": op("text", "x") + op("persid") + op("stop"),
    "an old class": op("mark") + op("inst") + b"os\nsystem\n" + op("stop"),
    "a name of a name": op("global", "pandas", "DataFrame.to_csv") + op("stop"),
    "a module in a module": op("global", "pandas.io.common.os", "system") + op("stop"),
    "frames within frames": op("global", "pandas", "DataFrame") * 3 + op("stop"),
    "a list": op("list") + op("stop"),
    "nothing": b"",
    "no pickle": b"timestamp,open,high,low,close\n2024-01-01,1,1,1,1\n",
    "an unfinished one": b"\x80\x04}",
    "an empty stack": b"\x80\x04.",
    "a stray mark": op("mark") + op("stop"),
    "a memory it has not": b"h\x05.",
    "a short stack": op("text", "x") + op("tuple2") + op("stop"),
    "an odd number of pairs": op("dict") + op("mark") + op("text", "x") + b"u" + op("stop"),
}


@pytest.mark.parametrize("what", HANDMADE)
def test_handmade_pickles_are_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "x.pkl").write_bytes(HANDMADE[what])
    refused(tmp_path / "x.pkl")
    assert not hasattr(pd.DataFrame, "__wrapped__")
    assert len(pd.DataFrame({"a": [1, 2]})) == 2  # nothing was set on the class


BIG = 2**40


def shared(count: int) -> bytes:
    """One frame of 200,000 rows under many keys."""
    frame = pd.DataFrame({"open": np.zeros(200_000)})
    return pickle.dumps({str(i): frame for i in range(count)}, protocol=4)


def claims(rows: int) -> bytes:
    """A frame whose index claims more rows than there are."""
    return pickle.dumps({"A_1h": pd.DataFrame({"open": [1.0, 2.0]})}).replace(
        pickle.dumps(2)[2:4], b"\x8a\x06" + rows.to_bytes(6, "little")
    )


BOMBS = {
    "bytes of a length it has not": b"\x8e" + struct.pack("<Q", BIG) + b"x.",
    "text of a length it has not": b"\x8d" + struct.pack("<Q", BIG) + b"x.",
    "short claims": b"B" + struct.pack("<I", 2**32 - 1) + b"x.",
    "a bytearray of a length it has not": b"\x96" + struct.pack("<Q", BIG) + b"x.",
    "a frame of a length it has not": b"\x80\x04\x95" + struct.pack("<Q", BIG) + b"N.",
    "a huge place in memory": b"Nr" + struct.pack("<I", 2**32 - 1) + b".",
    "a number of a length it has not": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
    "nested deep": b")" + b"\x85" * 50_000 + b".",
    "nested lists": b"]" * 50_000 + b"a" * 49_999 + b".",
    "a deep key": b"}" + b")" + b"\x85" * 50_000 + b"Ns.",
    "marks": b"(" * 50_000 + b".",
    "a list in itself": b"]\x94h\x00a.",
    "one frame a thousand times": shared(1000),
    "an index that claims rows": claims(BIG),
}


@pytest.mark.parametrize("what", BOMBS)
def test_bombs_are_refused_in_little_memory(tmp_path: Path, what: str) -> None:
    (tmp_path / "x.pkl").write_bytes(BOMBS[what])
    tracemalloc.start()
    refused(tmp_path / "x.pkl")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6


def test_too_many_steps_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kronos.data.pickles.unpickling.MOST_STEPS", 1000)
    (tmp_path / "x.pkl").write_bytes(b"}" * 2000)
    refused(tmp_path / "x.pkl", "more than 1,000 steps")


def test_one_frame_under_a_few_names_is_no_bomb(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(shared(3))
    assert len(read_pickle(tmp_path / "x.pkl")) == 3


def test_a_zone_other_than_utc_is_refused(tmp_path: Path) -> None:
    refused(sample({"A_1h": bars_frame(9, tz="Asia/Shanghai")}, tmp_path / "x.pkl"), "naive or UTC times")


@pytest.mark.parametrize("value", [3, "x", [bars_frame(3)], {"A_1h": bars_frame(3)["open"]}, {"A_1h": {"B": 1}}, None])
def test_other_values_are_refused(tmp_path: Path, value: Any) -> None:
    refused(sample(value, tmp_path / "x.pkl"))


@pytest.mark.parametrize("kind", ["category", "complex128", "timedelta64[ns]", "Float64", "period"])
def test_other_kinds_of_columns_are_refused(tmp_path: Path, kind: str) -> None:
    column = pd.Series([1, 2, 3])
    column = pd.Series(pd.period_range("2024", periods=3, freq="D")) if kind == "period" else column.astype(kind)
    refused(sample({"A_1h": pd.DataFrame({"open": column})}, tmp_path / "x.pkl"))


@lru_cache
def good_pickles() -> list[bytes]:
    mine = pickle.dumps({"A_1h": bars_frame(4), "B_1h": bars_frame(4).assign(s="x")}, protocol=4)
    return [mine, *(zlib.decompress(base64.b85decode(text)) for text in WRITTEN_BY.values())]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 7), st.integers(0, 2**32), st.integers(1, 4))
def test_damaged_pickles_are_refused_or_give_frames(which: int, seed: int, changes: int) -> None:
    """Whatever a byte is changed to, nothing but the one error comes of it."""
    from kronos.data.pickles.frames import frames_of
    from kronos.data.pickles.unpickling import RefusedError, read_records

    content, chance = bytearray(good_pickles()[which]), random.Random(seed)
    for _ in range(changes):
        place = chance.randrange(len(content))
        if chance.random() < 0.3:
            del content[place : place + chance.randrange(1, 9)]
        else:
            content[place] = chance.choice([chance.randrange(256), *b"(.R\x81b\x93\x85]}eu0N\x94h"])
    try:
        found = frames_of(read_records(bytes(content), ALLOWED), "x", len(content))
    except RefusedError:
        return
    for frame in found.values():
        assert isinstance(frame, pd.DataFrame)
        assert frame.memory_usage(deep=True).sum() < 1e6


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        read_pickle(tmp_path / "absent.pkl")
    with pytest.raises(SourceError, match="cannot be read"):
        read_pickle(tmp_path)


BYTES = op("global", "builtins", "bytes")
CHUNKED, RESTORE = op("global", "pyarrow.lib", "chunked_array"), op("global", "pyarrow.lib", "_restore_array")


def framed(array: bytes) -> bytes:
    """A frame by its constructor whose one column is `array`."""
    columns = op("dict") + op("text", "open") + array + op("setitem")
    return (
        op("dict") + op("text", "A_1h") + FRAME + columns + array + op("tuple2") + op("reduce") + op("setitem") + b"."
    )


def buffered(content: bytes) -> bytes:
    """An array of floats from what is to be bytes."""
    return op("global", "numpy", "frombuffer") + content + op("text", "<f8") + op("tuple2") + op("reduce")


def shaped_by(shape: bytes) -> bytes:
    """Eight bytes of a shape that they do not have."""
    call = op("global", "numpy.core.numeric", "_frombuffer") + op("mark") + b"C\x08" + bytes(8) + op("text", "<f8")
    return call + shape + op("text", "C") + b"t" + op("reduce")


BACKED = op("global", "pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked") + op("mark")
BACKED += op("global", "pandas.arrays", "DatetimeArray") + b"K\x01" + op("none") + op("tuple1") + b"t" + op("reduce")
STRINGS = op("global", "pandas.arrays", "ArrowStringArray") + op("empty") + op("reduce")
WITHIN = CHUNKED * 5000 + op("empty") + op("reduce") + (op("tuple1") + op("tuple1") + op("reduce")) * 4999
DEEP = {
    "a call of bytes within calls of bytes": framed(
        buffered(BYTES * 50_000 + op("empty") + op("reduce") + (op("tuple1") + op("reduce")) * 49_999)
    ),
    "an array without values": framed(BACKED),
    "texts in chunks of chunks": framed(
        STRINGS + op("dict") + op("text", "_pa_array") + WITHIN + op("setitem") + op("build")
    ),
    "a size that is a text": framed(shaped_by(b"J\x00\x00\x00\x7f" + op("text", "x" * 99) + op("tuple2"))),
    "a size that is a tuple": framed(shaped_by(b"J\x00\x00\x00\x7f" + op("none") + op("tuple1") + op("tuple2"))),
}


@pytest.mark.parametrize("what", DEEP)
def test_what_is_nested_or_left_out_in_a_frame_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "x.pkl").write_bytes(DEEP[what])
    tracemalloc.start()
    refused(tmp_path / "x.pkl", "A_1h")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6
